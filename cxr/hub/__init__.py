"""The Hugging Face Hub: models and LoRAs are fetched into its usual cache, checked, and found there without it."""

from cxr.hub.adapters import HubAdapter, download_adapter

__all__ = ["HubAdapter", "download_adapter"]
