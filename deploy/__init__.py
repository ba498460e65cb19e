"""Engines that run the networks on a device, and the checks that an engine must pass first."""
