"""Jobs that generate recordings in all supported media formats and check the enhanced outputs."""
