"""What a job holds that this journal did not fill itself: joined films, parts, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.errors import RequestRejectedError
from orchestrator.domain.service_states import WAIT_FILE_UPLOAD
from orchestrator.engine.job_search import show_job
from orchestrator.engine.steps.inquiry import download_url
from orchestrator.metastudio.client import MetaStudioClient
from orchestrator.metastudio.requests import Command
from orchestrator.metastudio.wire import JobDetail


@dataclass(frozen=True, slots=True)
class Standing:
    """A job with the parts of the training video it holds; None when the service refuses to list them."""

    job: JobDetail
    parts: Mapping[int, str] | None = field(default_factory=dict)

    @property
    def is_seen_joined(self) -> bool:
        """True when the service shows that the training video is whole: the object, or a job that was handed in."""
        is_shown = download_url(self.job.download_urls, AssetKind.TRAINING_VIDEO) is not None
        return is_shown or self.job.state != WAIT_FILE_UPLOAD

    @property
    def is_marked_joined(self) -> bool:
        """True when the job, which still waits, shows by its film or its refused list that the parts are joined."""
        return self.job.state == WAIT_FILE_UPLOAD and (self.is_seen_joined or self.parts is None)

    @property
    def is_seen_empty(self) -> bool:
        """True when the service lists no part and shows no film: the job may go without a loss.

        A list that is refused proves nothing: it is what may follow on the join (metastudio-protocol section 5.2).
        """
        return not self.is_seen_joined and self.parts is not None and not self.parts

    @property
    def shows_other_files(self) -> bool:
        """True when a single file is shown: a service that shows files would show the joined film as well."""
        urls = self.job.download_urls
        return any(download_url(urls, kind) is not None for kind in AssetKind if not kind.is_multipart)


async def standing_of(client: MetaStudioClient, job_id: str, app_user_id: str | None) -> Standing | None:
    """Ask what the job holds; None when the service has no such job."""
    job = await show_job(client, job_id, app_user_id)
    if job is None or job.state != WAIT_FILE_UPLOAD:
        return None if job is None else Standing(job)
    # One refusal may pass; what follows from it does not.
    parts = await _listed_parts(client, job_id, app_user_id)
    return Standing(job, await _listed_parts(client, job_id, app_user_id) if parts is None else parts)


async def _listed_parts(
    client: MetaStudioClient, job_id: str, app_user_id: str | None
) -> dict[int, str] | None:
    try:
        result = await client.command(job_id, Command.GET_MULTIPART_UPLOADED, app_user_id=app_user_id)
    except RequestRejectedError:
        return None
    return {part.part_number: part.etag.lower() for part in result.parts}
