"""Quality of whole runs on real clips and light fields, against known ground truth."""
