"""The training-job service: create, list, show, update, delete, and the commands."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping

import anyio

from orchestrator.simulator.bucket import Bucket
from orchestrator.simulator.jobs import REVIEW_FAILED, WAIT_FILE_UPLOAD, Job, basic_info, full_info, select
from orchestrator.simulator.links import (
    ASSETS,
    COVER,
    GRANT_FILE,
    MULTIPART,
    Asset,
    Links,
    object_key,
    wanted_uploads,
)
from orchestrator.simulator.objects import shown_etag
from orchestrator.simulator.options import SimulatorOptions
from orchestrator.simulator.persistence import Document, Records
from orchestrator.simulator.requests import (
    ApiError,
    CommandBody,
    CommandRefusedError,
    CreateBody,
    ListQuery,
    StoreError,
    UpdateBody,
)
from orchestrator.simulator.review import Reviewer

TRAINING_VIDEO, ACTION_VIDEO = MULTIPART
_FORGOTTEN = "command_message"
Act = Callable[["TrainingService", Job], Awaitable[Document]]


class TrainingService:
    """The jobs of one project, and the rules for changing them."""

    def __init__(
        self,
        options: SimulatorOptions,
        *,
        records: Records,
        bucket: Bucket,
        links: Links,
        reviewer: Reviewer,
        clock: Callable[[], float],
    ) -> None:
        self.jobs: dict[str, Job] = {}
        self._options = options
        self._world = options.world
        self._records = records
        self._bucket = bucket
        self._links = links
        self._reviewer = reviewer
        self._clock = clock
        self._locks: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)

    async def open(self) -> None:
        """Load the jobs of an earlier process, oldest first."""
        jobs = [Job.from_document(document) for _, document in await self._records.load("job")]
        self.jobs = {job.job_id: job for job in sorted(jobs, key=lambda job: job.created_at)}
        for job in jobs:
            await self._reconcile(job)

    async def _reconcile(self, job: Job) -> None:
        """Record joined or aborted uploads that were not yet saved when the process was killed."""
        for asset in MULTIPART:
            upload_id = job.upload_ids.get(asset.kind)
            if upload_id is not None and not await self._is_open(job, asset):
                del job.upload_ids[asset.kind]
                if await self._links.has(job, asset):
                    job.count_confirmation(asset.kind)

    async def _is_open(self, job: Job, asset: Asset) -> bool:
        try:
            await self._bucket.parts(job.upload_ids[asset.kind], object_key(job.job_id, asset))
        except StoreError as error:
            if error.code == "NoSuchUpload":
                return False
            raise
        return True

    async def create(self, body: CreateBody, app_user_id: str | None) -> Document:
        """Create a job and return its id with its upload URLs."""
        fields = body.model_dump(exclude={_FORGOTTEN})
        job = Job(uuid.uuid4().hex, self._options.project_id, app_user_id, fields, self._clock())
        # JOD is the service's own spelling.
        job.log("USER_CREATE_JOD", "USER", job.created_at)
        await self._open_uploads(job, "action_video_multipart_count" in body.model_fields_set)
        # Listed only after it is saved: no client must see a job that a kill can lose.
        await self._save(job)
        self.jobs[job.job_id] = job
        return {"job_id": job.job_id, **self._links.uploads(job)}

    async def list_jobs(self, query: ListQuery) -> Document:
        """Return one page of the matching jobs, and their total number."""
        existing = (self._current(job) for job in self.jobs.values() if not job.is_deleted)
        selected = select(existing, query, has_filters=self._world.list_filters == "honoured")
        page = selected[query.offset : query.offset + query.limit]
        with_tags = self._world.list_tags == "shown"
        jobs = [
            basic_info(job, await self._links.downloads(job, (COVER,)), with_tags=with_tags) for job in page
        ]
        return {"count": len(selected), "jobs": jobs}

    async def show(self, job_id: str) -> Document:
        """Return all details of one job."""
        job = self._find(job_id)
        downloads = await self._links.downloads(job)
        return full_info(job, downloads, with_tags=self._world.show_tags == "shown")

    async def update(self, job_id: str, body: UpdateBody) -> Document:
        """Change a job and return new URLs; the world decides which uploads and objects remain."""
        async with self._locks[job_id]:
            job = self._find(job_id)
            if not self._may_update(job):
                raise _wrong_state(job, "updated")
            job.fields |= body.model_dump(exclude={_FORGOTTEN}, exclude_none=True)
            job.updates += 1
            job.log("USER_UPDATE_VIDEO", "USER", self._clock())
            # Checked before the uploads are deleted: afterwards, nothing shows that there was one.
            has_action = "action_video" in job.upload_ids or body.action_video_multipart_count is not None
            if self._world.update_keeps == "nothing":
                await self._abort_uploads(job)
            if self._world.update_keeps != "everything":
                await self._delete_objects(job, ASSETS)
            await self._open_uploads(job, has_action)
            await self._save(job)
            return {"job_id": job_id, **self._links.uploads(job)}

    def _may_update(self, job: Job) -> bool:
        match self._world.update_allowed:
            case "always":
                return job.is_amendable
            case "failed-review":
                return job.state in REVIEW_FAILED
            case _:
                return False

    async def delete(self, job_id: str) -> None:
        """Delete a job with its files."""
        async with self._locks[job_id]:
            job = self._find(job_id)
            is_stricter = self._world.delete_allowed == "waiting-only"
            if not (job.state == WAIT_FILE_UPLOAD if is_stricter else job.is_deletable):
                raise _wrong_state(job, "deleted")
            # Before its files: a kill in between leaves files without a job, not a job without its files.
            job.deleted_at = self._clock()
            await self._save(job)
            await self._abort_uploads(job)
            await self._delete_objects(job, ASSETS)

    async def _delete_objects(self, job: Job, assets: Iterable[Asset]) -> None:
        for asset in assets:
            await self._bucket.delete(object_key(job.job_id, asset))

    async def command(self, job_id: str, body: CommandBody) -> Document:
        """Execute a command and return the additional fields of its response; raise CommandRefusedError."""
        act = self._commands.get(body.command)
        async with self._locks[job_id]:
            job = self._find(job_id)
            if act is None:
                raise CommandRefusedError(f"Command {body.command} is for users of the NA whitelist only.")
            answer = await self._act(act, job)
            await self._save(job)
            return answer

    async def _act(self, act: Act, job: Job) -> Document:
        try:
            return await act(self, job)
        except StoreError as error:
            # An unavailable store is no statement about the job; only its refusals are the command's result.
            if error.status >= 500:
                raise
            raise CommandRefusedError(f"{error.code}: {error.message}", error.code) from None

    async def _list_training_parts(self, job: Job) -> Document:
        return {"multipart_data": await self._parts(job, TRAINING_VIDEO)}

    async def _list_action_parts(self, job: Job) -> Document:
        if self._world.action_part_list == "refused":
            raise CommandRefusedError("The command is not supported.")
        is_empty = self._world.action_part_list == "empty"
        return {"multipart_data": [] if is_empty else await self._parts(job, ACTION_VIDEO)}

    async def _parts(self, job: Job, asset: Asset) -> list[Document]:
        is_open = asset.kind in job.upload_ids
        parts = await self._open_parts(job, asset) if is_open else await self._joined_parts(job, asset)
        listed = [
            {"part_number": str(number), "etag": shown_etag(etag, self._world.etag)}
            for number, etag in sorted(parts.items())
        ]
        return listed[: self._options.cap_listed_parts]

    async def _open_parts(self, job: Job, asset: Asset) -> dict[int, str]:
        return await self._bucket.parts(job.upload_ids[asset.kind], object_key(job.job_id, asset))

    async def _joined_parts(self, job: Job, asset: Asset) -> dict[int, str]:
        if self._world.part_list_after_join == "refused" or not await self._is_joined(job, asset):
            raise _no_upload()
        is_full = self._world.part_list_after_join == "full"
        joined = job.joined_parts.get(asset.kind, {}) if is_full else {}
        return {int(number): etag for number, etag in joined.items()}

    async def _is_joined(self, job: Job, asset: Asset) -> bool:
        return asset.kind in job.confirmations and await self._links.has(job, asset)

    async def _confirm_training(self, job: Job) -> Document:
        return await self._confirm(job, TRAINING_VIDEO)

    async def _confirm_action(self, job: Job) -> Document:
        return await self._confirm(job, ACTION_VIDEO)

    async def _confirm(self, job: Job, asset: Asset) -> Document:
        _require_amendable(job)
        if asset.kind not in job.upload_ids:
            if self._world.second_confirm == "accepted" and await self._is_joined(job, asset):
                return {}
            raise _no_upload()
        count, parts = job.parts_expected(asset.kind), await self._open_parts(job, asset)
        await self._bucket.complete(job.upload_ids[asset.kind], object_key(job.job_id, asset), count)
        # `_reconcile` handles a kill between the join and the save.
        del job.upload_ids[asset.kind]
        job.count_confirmation(asset.kind)
        job.joined_parts[asset.kind] = {str(number): parts[number] for number in range(1, count + 1)}
        job.updated_at = self._clock()
        return {}

    async def _submit(self, job: Job) -> Document:
        if self._world.second_submit == "accepted" and job.submissions and not job.is_amendable:
            return {}
        _require_amendable(job)
        if not await self._links.has(job, TRAINING_VIDEO):
            raise CommandRefusedError("The training video is not uploaded and confirmed.")
        for asset in MULTIPART:
            if asset.kind in job.upload_ids and await self._open_parts(job, asset):
                raise CommandRefusedError("Parts are uploaded that are not confirmed.")
        job.submit(self._clock(), await self._reviewer.judge(job))
        return {}

    async def _confirm_letter(self, job: Job) -> Document:
        if self._world.confirm_letter == "refused":
            raise CommandRefusedError("The command is not supported.")
        if not await self._links.has(job, GRANT_FILE):
            raise CommandRefusedError("The authorization letter is not uploaded.")
        job.letters_confirmed += 1
        return {}

    async def _delete_videos(self, job: Job) -> Document:
        _require_amendable(job)
        await self._abort_uploads(job)
        await self._delete_objects(job, MULTIPART)
        job.log("USER_DELETE_JOB_VIDEO", "USER", self._clock())
        return {}

    _commands: Mapping[str, Act] = {
        "GET_MULTIPART_UPLOADED": _list_training_parts,
        "CONFIRM_MULTIPART_UPLOADED": _confirm_training,
        "GET_ACTION_VIDEO_MULTIPART_UPLOADED": _list_action_parts,
        "CONFIRM_ACTION_VIDEO_MULTIPART_UPLOADED": _confirm_action,
        "SUBMITVERIFYING": _submit,
        "CONFIRM_AUTHORIZATION_LETTER": _confirm_letter,
        "DELETE_JOB_VIDEO": _delete_videos,
    }

    def _find(self, job_id: str) -> Job:
        job = self.jobs.get(job_id)
        if job is None or job.is_deleted:
            raise ApiError(404, "MSS.41000003", "The task does not exist")
        return self._current(job)

    def _current(self, job: Job) -> Job:
        # Not saved: after a restart, the same clock and speed lead to the same state.
        job.advance(self._clock(), self._options.speed)
        return job

    async def _open_uploads(self, job: Job, is_action_asked_for: bool) -> None:
        for asset in wanted_uploads(self._options, is_action_asked_for):
            if asset.kind in job.upload_ids:
                continue
            job.upload_ids[asset.kind] = await self._bucket.initiate(object_key(job.job_id, asset))

    async def _abort_uploads(self, job: Job) -> None:
        for asset in MULTIPART:
            upload_id = job.upload_ids.pop(asset.kind, None)
            if upload_id is not None:
                await self._bucket.abort(upload_id, object_key(job.job_id, asset))

    async def _save(self, job: Job) -> None:
        await self._records.put("job", job.job_id, job.to_document())


def _require_amendable(job: Job) -> None:
    if not job.is_amendable:
        raise CommandRefusedError(f"The job in state {job.state} does not allow this command.")


def _no_upload() -> CommandRefusedError:
    return CommandRefusedError("The multipart upload does not exist or is completed.")


def _wrong_state(job: Job, done: str) -> ApiError:
    return ApiError(400, "MSS.00000003", f"Invalid parameter: a job in state {job.state} cannot be {done}")
