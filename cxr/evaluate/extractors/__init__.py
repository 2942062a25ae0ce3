"""The networks behind `cxr.evaluate.extract`, one file each."""
