"""The files a job takes: object names, URL fields, content types (metastudio-protocol section 1.1)."""

from dataclasses import dataclass

OCTET_STREAM = "application/octet-stream"
ZIP = "application/zip"


@dataclass(frozen=True)
class Asset:
    """One file of a job, as the service names it."""

    kind: str
    suffix: str
    upload_field: str
    download_field: str
    content_type: str = OCTET_STREAM


TRAINING_VIDEO = Asset(
    "training_video", "trainingVideo", "training_video_upload_url", "training_video_download_url"
)
ACTION_VIDEO = Asset("action_video", "actionVideo", "action_video_upload_url", "action_video_download_url")
AUDIO = Asset("audio", "audio", "audio_upload_url", "audio_file_download_url", ZIP)
COVER = Asset("cover", "cover", "cover_upload_url", "cover_download_url")
ID_CARD_IMAGE1 = Asset(
    "id_card_image1", "idCardImage1_tmp", "id_card_image1_upload_url", "id_card_image1_download_url"
)
ID_CARD_IMAGE2 = Asset(
    "id_card_image2", "idCardImage2_tmp", "id_card_image2_upload_url", "id_card_image2_download_url"
)
GRANT_FILE = Asset("grant_file", "grantFile_tmp", "grant_file_upload_url", "grant_file_download_url")
PRE_BEAUTY_IMAGE = Asset(
    "pre_beauty_image", "preBeautyImage_tmp", "pre_beauty_image_upload_url", "pre_beauty_image_download_url"
)
POST_BEAUTY_IMAGE = Asset(
    "post_beauty_image",
    "postBeautyImage_tmp",
    "post_beauty_image_upload_url",
    "post_beauty_image_download_url",
)

MULTIPART = (TRAINING_VIDEO, ACTION_VIDEO)
SINGLE = (AUDIO, COVER, ID_CARD_IMAGE1, ID_CARD_IMAGE2, GRANT_FILE, PRE_BEAUTY_IMAGE, POST_BEAUTY_IMAGE)
ASSETS = MULTIPART + SINGLE


def object_key(job_id: str, asset: Asset) -> str:
    """Return the object's name inside the bucket."""
    return f"p/{job_id}_{asset.suffix}"
