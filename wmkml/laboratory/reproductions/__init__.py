"""What the literature found about model collapse, run again: in numpy where it is arithmetic, else on the understudy."""
