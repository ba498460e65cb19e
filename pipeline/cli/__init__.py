"""The command line: each command's module parses options, calls the library and prints."""
