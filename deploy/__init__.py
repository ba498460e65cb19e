"""Engines that run the networks on a device, and the tests that each must pass before use."""
