"""What can go wrong, named once: the table of problems in German and English, and how it is printed."""
