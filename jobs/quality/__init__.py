"""The quality of whole runs on real clips and light fields, measured against the ground truth."""
