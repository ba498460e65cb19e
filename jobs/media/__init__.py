"""Generated recordings that cover the supported media formats, and jobs that check the outputs."""
