"""Plan -> thousands of labelled images: cohort, units of work, processes, and a folder that says what it holds."""
