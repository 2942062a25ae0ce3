"""Images to files: PNG with the whole recipe inside, a folder that can be continued, a ZIP of the same bytes."""

from cxr.export.archive import write_zip
from cxr.export.folder import ImageFolder, finished_images
from cxr.export.png import encode_png, read_recipe

__all__ = ["ImageFolder", "encode_png", "finished_images", "read_recipe", "write_zip"]
