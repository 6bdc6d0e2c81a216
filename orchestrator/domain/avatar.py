"""The avatar as a manifest describes it: every request field of the create call, and the files.

Ranges and enums are those of metastudio-protocol section 1.1.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from orchestrator.domain.assets import AssetKind

MAX_PART_COUNT = 1000
#: The service takes ten tags; one of them is ours, so that a lost create can be found again.
MAX_USER_TAGS = 9
TAG_PREFIX = "orch:"

PartCount = Literal["auto"] | Annotated[int, Field(ge=1, le=MAX_PART_COUNT)]
Tag = Annotated[str, StringConstraints(max_length=128)]


class CommandMessage(StrEnum):
    """What the create or update call is made for."""

    UPDATE_VIDEO = "UPDATE_VIDEO"
    UPLOAD_VIDEO = "UPLOAD_VIDEO"
    CONFIRM_ACTION_VIDEO = "CONFIRM_ACTION_VIDEO"
    GET_ACTION_VIDEO_MULTIPART = "GET_ACTION_VIDEO_MULTIPART"


class ModelVersion(StrEnum):
    """The model to train; V2 and V3 are retired."""

    V2 = "V2"
    V3 = "V3"
    V3_2 = "V3.2"
    V3_3 = "V3.3"


class AudioSourceType(StrEnum):
    """Where the voice comes from."""

    VIDEO = "VIDEO"
    AUDIO = "AUDIO"


class VoiceJobTag(StrEnum):
    """The style of the voice."""

    ECOMMERCE = "ECOMMERCE"
    NEWS = "NEWS"
    MARKETING = "MARKETING"


class Sex(StrEnum):
    """The sex of the voice."""

    FEMALE = "FEMALE"
    MALE = "MALE"


class Language(StrEnum):
    """The language of the voice."""

    CN = "CN"
    EN = "EN"


class Service(StrEnum):
    """What the trained avatar may be used for."""

    VIDEO_2D = "VIDEO_2D"
    LIVE_2D = "LIVE_2D"
    CHAT_2D = "CHAT_2D"


class VoiceProperties(BaseModel):
    """The voice to train; all three are mandatory once any is given."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    job_tag: VoiceJobTag
    sex: Sex
    language: Language


class Avatar(BaseModel):
    """One avatar of the manifest: the create call's fields and the paths of its files.

    A field that the manifest leaves out is None and is not sent, so the service's own default holds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    id: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = Field(
        default=None, description="Ours, stable over runs; default: a slug of the name."
    )
    name: Annotated[str, StringConstraints(min_length=1, max_length=256)] = Field(
        description="Becomes the name of the asset."
    )
    training_video: str = Field(description="MP4, 3 to 10 minutes, 1080p or 4K.")
    action_video: str | None = Field(default=None, description="MP4 with the actions.")
    audio: str | None = Field(default=None, description="A zip; with audio_source_type: AUDIO.")
    cover: str | None = Field(default=None, description="The avatar's picture.")
    id_card_image1: str | None = Field(default=None, description="ID card, portrait side.")
    id_card_image2: str | None = Field(default=None, description="ID card, emblem side.")
    grant_file: str | None = Field(default=None, description="The signed authorization letter.")
    pre_beauty_image: str | None = Field(default=None, description="Picture before whitening.")
    post_beauty_image: str | None = Field(default=None, description="Picture after whitening.")

    contact: Annotated[str, StringConstraints(max_length=64)] | None = Field(
        default=None, description="The creator's phone number or e-mail address."
    )
    command_message: CommandMessage | None = None
    video_multipart_count: PartCount = Field(
        default="auto", description="Parts of the training video: auto, or 1 to 1000."
    )
    action_video_multipart_count: PartCount | None = Field(
        default=None, description="Parts of the action video; default: video_multipart_count."
    )
    is_background_replacement: bool | None = None
    tags: Annotated[tuple[Tag, ...], Field(max_length=MAX_USER_TAGS)] | None = Field(
        default=None, description="At most 9 tags of at most 128 characters; a tenth is the orchestrator's."
    )
    model_version: ModelVersion | None = None
    is_ondemand_resource: bool | None = None
    is_flexus: bool | None = None
    is_fast_flexus: bool | None = None
    is_live_copy: bool | None = None
    is_only_human_model: bool | None = None
    audio_source_type: AudioSourceType | None = None
    voice_properties: VoiceProperties | None = None
    supported_service: Annotated[tuple[Service, ...], Field(max_length=10)] | None = None
    app_user_id: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = Field(
        default=None, description="Sent as X-App-UserId: the third-party user the job belongs to."
    )

    def files(self) -> dict[AssetKind, str]:
        """The paths the manifest gives, by kind, in the order of AssetKind."""
        paths = ((kind, getattr(self, kind.value)) for kind in AssetKind)
        return {kind: path for kind, path in paths if path is not None}
