"""How events are run: which ones share the model, and which ones programs may call."""

from __future__ import annotations

from typing import Any

MODEL_QUEUE = "model"
MODEL_JOBS: dict[str, Any] = {"concurrency_id": MODEL_QUEUE, "concurrency_limit": 1}
PRIVATE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
AT_ONCE: dict[str, Any] = {"queue": False, **PRIVATE}  # for handlers that cannot fail: these show no error messages
