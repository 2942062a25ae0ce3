"""Plan -> thousands of labelled images: cohort, units of work, processes, and a folder that tells what it holds."""
