"""Tests of detail borrowed by optical flow."""
