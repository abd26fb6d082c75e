"""A reader for each form of file.  Each yields pairs, records and refusals in the order of the file, and holds no file whole."""
