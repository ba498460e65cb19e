"""Recordings and outputs at URLs: transfers, and the local cache of copies."""
