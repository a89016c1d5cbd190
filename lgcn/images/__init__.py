"""Images: files and arrays in, uint8 RGB tensors out; and the images in a folder."""

from lgcn.images.convert import ImageLike, as_image_tensor, image_to_tensor
from lgcn.images.listing import ImageListing, image_suffixes, is_image_name, list_images
from lgcn.images.pixels import PixelRangeWarning
from lgcn.images.read import MAX_PIXELS, read_image

__all__ = [
    "MAX_PIXELS",
    "ImageLike",
    "ImageListing",
    "PixelRangeWarning",
    "as_image_tensor",
    "image_suffixes",
    "image_to_tensor",
    "is_image_name",
    "list_images",
    "read_image",
]
