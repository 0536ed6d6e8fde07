"""Image data sets, in memory or in their files, and batches made from them on the device."""

from adarts_ext.data.dataset import ImageDataset
from adarts_ext.data.load import DATASETS, load_dataset
from adarts_ext.data.loader import BatchLoader
from adarts_ext.data.pairs import image_dataset
from adarts_ext.data.split import split

__all__ = ["DATASETS", "BatchLoader", "ImageDataset", "image_dataset", "load_dataset", "split"]
