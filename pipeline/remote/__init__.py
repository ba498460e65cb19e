"""Recordings and outputs at URLs: transfers, the local cache and run folders."""
