"""Bulk uploader for Huawei Cloud MetaStudio avatar training."""

__version__ = "0.1.0"
