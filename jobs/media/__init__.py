"""Generated recordings that cover the media formats, and the matrices that check them."""
