"""Engines that run the networks on the device at hand, and the tests that they must pass first."""
