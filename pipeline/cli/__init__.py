"""The command line: a module for each command parses options, calls the library and prints."""
