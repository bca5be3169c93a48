"""The command line: one function for each command, the tables that commands print, and the reference page."""
