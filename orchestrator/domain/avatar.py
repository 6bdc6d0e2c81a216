"""The avatar as a manifest describes it: every request field of the create call, and the files.

Ranges and enums follow metastudio-protocol section 1.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from orchestrator.domain.assets import MAX_PART_COUNT, AssetKind

#: The service accepts ten tags; the program needs one of them to find a job whose create answer was lost.
MAX_USER_TAGS = 9
TAG_PREFIX = "orch:"
#: No control characters and no line breaks: these texts end up in headers, tables and log lines.
ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
HEADER_SAFE = r"^[\x20-\x7e]*$"


def _part_count(value: object) -> object:
    """Parse a count from text; no octal, no fractions."""
    if not isinstance(value, str) or value == "auto":
        return value
    if re.fullmatch(r"[1-9][0-9]{0,3}", value) is None or int(value) > MAX_PART_COUNT:
        raise PydanticCustomError("part_count", "must be auto or a whole number from 1 to 1000")
    return int(value)


def _user_tag(value: str) -> str:
    """Reject tags with the prefix by which the program recognizes its own jobs."""
    if value.startswith(TAG_PREFIX):
        raise PydanticCustomError(
            "reserved_tag", "begins with orch:, which the program keeps for its own tags"
        )
    return value


PartCount = Annotated[
    Literal["auto"] | Annotated[int, Field(ge=1, le=MAX_PART_COUNT)], BeforeValidator(_part_count)
]
Tag = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=128, pattern=ONE_LINE),
    AfterValidator(_user_tag),
]
#: Ids of rules, such as P15; the avatar does not check that they exist.
RuleIds = Annotated[
    tuple[
        Annotated[str, StringConstraints(strip_whitespace=True, to_upper=True, min_length=1, max_length=16)],
        ...,
    ],
    Field(max_length=100),
]
FilePath = Annotated[str, StringConstraints(min_length=1, pattern=ONE_LINE)]
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=256, pattern=ONE_LINE)
]


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


_FILE_FIELDS = tuple((kind, kind.value) for kind in AssetKind)
#: The fields that cause objections: an avatar without any of them has none.
COMBINED_FIELDS: Final = frozenset(
    {"audio", "audio_source_type", "model_version", "is_flexus", "is_fast_flexus", "is_only_human_model"}
)
_RETIRED = frozenset({ModelVersion.V2, ModelVersion.V3})


class VoiceProperties(BaseModel):
    """The voice to train; style and language are mandatory once any is given."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    job_tag: VoiceJobTag = Field(description="The style of the voice.")
    sex: Sex = Field(
        default=Sex.FEMALE, description="The sex of the voice; default: FEMALE, as the service has it."
    )
    language: Language = Field(description="The language of the voice.")


@dataclass(frozen=True, slots=True)
class Objection:
    """A field that does not go with the rest of the avatar; `is_certain` when the upload would fail."""

    field: str
    message: str
    is_certain: bool


class Avatar(BaseModel):
    """One avatar of the manifest: the create call's fields and the paths of its files.

    A field that the manifest leaves out is None and is not sent, so the service's own default holds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    id: (
        Annotated[
            str, StringConstraints(strip_whitespace=True, min_length=1, max_length=128, pattern=ONE_LINE)
        ]
        | None
    ) = Field(default=None, description="Stable across runs; default: made from the name.")
    name: Name = Field(description="Becomes the name of the asset; 1 to 256 characters.")

    training_video: FilePath = Field(
        description="MP4 (H.264), 3 to 10 minutes (flexus: 1 to 5), 1080p or 4K, landscape or portrait."
    )
    action_video: FilePath | None = Field(default=None, description="MP4 with the actions.")
    audio: FilePath | None = Field(
        default=None, description="A zip with the voice; only with audio_source_type: AUDIO."
    )
    cover: FilePath | None = Field(default=None, description="The avatar's picture.")
    id_card_image1: FilePath | None = Field(
        default=None, description="ID card, portrait side; without it most accounts fail the review."
    )
    id_card_image2: FilePath | None = Field(
        default=None, description="ID card, emblem side; without it most accounts fail the review."
    )
    grant_file: FilePath | None = Field(
        default=None, description="The signed authorization letter; without it most accounts fail the review."
    )
    pre_beauty_image: FilePath | None = Field(default=None, description="Picture before whitening.")
    post_beauty_image: FilePath | None = Field(default=None, description="Picture after whitening.")

    contact: (
        Annotated[str, StringConstraints(strip_whitespace=True, max_length=64, pattern=ONE_LINE)] | None
    ) = Field(
        default=None, description="The creator's phone number or e-mail address; at most 64 characters."
    )
    command_message: CommandMessage | None = Field(
        default=None, description="What the job is made for; the service's default: UPLOAD_VIDEO."
    )
    video_multipart_count: PartCount = Field(
        default="auto", description="Parts of the training video: auto, or 1 to 1000."
    )
    action_video_multipart_count: PartCount | None = Field(
        default=None, description="Parts of the action video; default: video_multipart_count."
    )
    is_background_replacement: bool | None = Field(
        default=None, description="True (the service's default) needs footage before a green screen."
    )
    tags: Annotated[tuple[Tag, ...], Field(max_length=MAX_USER_TAGS)] | None = Field(
        default=None, description="At most 9 tags of at most 128 characters; a tenth is the orchestrator's."
    )
    model_version: ModelVersion | None = Field(
        default=None, description="The model to train; the service's default: V3.2. V2 and V3 are retired."
    )
    is_ondemand_resource: bool | None = Field(default=None, description="True for a pay-per-use job.")
    is_flexus: bool | None = Field(default=None, description="True for the basic edition, flexus.")
    is_fast_flexus: bool | None = Field(default=None, description="True for fast flexus (model V3.3).")
    is_live_copy: bool | None = Field(default=None, description="True for a copy made for live rooms.")
    is_only_human_model: bool | None = Field(
        default=None, description="True trains the avatar without its voice; flexus only."
    )
    audio_source_type: AudioSourceType | None = Field(
        default=None,
        description="Where the voice comes from: VIDEO (the service's default) or the audio zip.",
    )
    voice_properties: VoiceProperties | None = Field(
        default=None, description="The voice to train, for flexus; job_tag and language once any is given."
    )
    supported_service: Annotated[tuple[Service, ...], Field(max_length=10)] | None = Field(
        default=None, description="What the avatar may be used for; flexus: only VIDEO_2D."
    )
    app_user_id: (
        Annotated[
            str, StringConstraints(strip_whitespace=True, min_length=1, max_length=256, pattern=HEADER_SAFE)
        ]
        | None
    ) = Field(default=None, description="Sent as X-App-UserId: the third-party user the job belongs to.")
    # Not stored in the journal: which warnings are shown for an avatar's files changes nothing about its job.
    ignore: RuleIds | None = Field(
        default=None,
        exclude=True,
        description="Rules whose warnings are not shown for this avatar, for example [P15].",
    )

    def files(self) -> dict[AssetKind, str]:
        """Return the paths that the manifest gives, by kind, in the order of AssetKind."""
        fields = vars(self)  # pydantic keeps the fields there; reading them as attributes costs twice as much
        return {kind: path for kind, name in _FILE_FIELDS if (path := fields[name]) is not None}

    @property
    def is_any_flexus(self) -> bool:
        """True for both flexus editions, which have rules of their own (metastudio-protocol section 6)."""
        return bool(self.is_flexus or self.is_fast_flexus)

    def objections(self) -> Iterator[Objection]:
        """Yield an objection for each combination of fields that the service refuses, ignores or reviews badly."""
        is_from_audio = self.audio_source_type is AudioSourceType.AUDIO
        if self.audio is not None and not is_from_audio:
            yield Objection("audio", "is only taken with audio_source_type: AUDIO", True)
        if self.audio is None and is_from_audio:
            yield Objection(
                "audio_source_type", "AUDIO needs the audio zip; the field audio is missing", True
            )
        if self.model_version in _RETIRED:
            yield Objection("model_version", f"{self.model_version} is retired; use V3.2 or V3.3", False)
        if not self.is_any_flexus:
            if self.is_only_human_model:
                yield Objection("is_only_human_model", "is for flexus only; is_flexus is not true", False)
            return
        if set(self.supported_service or ()) - {Service.VIDEO_2D}:
            yield Objection("supported_service", "may only be VIDEO_2D for flexus", False)
        if self.is_background_replacement:
            yield Objection("is_background_replacement", "is not possible with flexus", False)
