"""Contact sheets."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from sample_images import make_image

from cxr.folders.image_folder import ImageFolder
from cxr.request.errors import DataError


def test_a_contact_sheet_sets_equal_prompts_of_several_folders_together(tmp_path: Path) -> None:
    from cxr.folders.sheet import contact_sheet, rows_of_folders

    for number, name in enumerate(("with", "without")):
        with ImageFolder(tmp_path / name) as folder:
            for index, prompt in enumerate(("first", "second", "first")):
                folder.write(make_image(index=index, prompt=prompt, adapter_weight=float(number)))
    rows = rows_of_folders([tmp_path / "with", tmp_path / "without"], columns=2)
    assert [row.label.split()[0] for row in rows] == ["first", "first", "second", "second"]
    assert [len(row.images) for row in rows] == [2, 2, 1, 1]
    sheet = contact_sheet(rows, tmp_path / "deep" / "sheet.png")
    height, width = rows[0].images[0].shape
    with Image.open(sheet) as picture:
        assert picture.width > 2 * width
        assert picture.height > 4 * height
    with pytest.raises(DataError, match="holds no images"):
        rows_of_folders([tmp_path / "none"], columns=2)
