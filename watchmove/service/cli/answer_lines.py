"""The answer to why a video or a frame was kept or rejected, printed for people or as JSON for programs."""

from collections.abc import Iterator

from watchmove.pipeline.files.text_lines import visible
from watchmove.service.explanation.answer import LEFT_OUT, PENDING, Answer, FrameAnswer
from watchmove.service.explanation.thresholds import MetThreshold
from watchmove.service.records.outcomes import FAILED

_LIMITS = {
    "decoder-timeout": "extract.decoder_timeout_seconds",
    "decoder-memory": "extract.decoder_memory_mebibytes",
    "absurd-size": "extract.max_source_pixels",
    "time-limit": "work.video_timeout_seconds",
    "out-of-memory": "work.video_memory_mebibytes",
    "output-limit": "work.video_output_mebibytes",
    "over-scratch-limit": "work.scratch_mebibytes",
}
"""Reasons of failed videos that a larger value of a setting may avoid."""


def print_answer(answer: Answer, *, as_json: bool) -> None:
    """Print an answer as lines of text, or as JSON."""
    if as_json:
        print(answer.model_dump_json(indent=1))
        return
    alone = answer.frame is not None
    for line in [*_of_video(answer), *(line for frame in answer.frames for line in _of_frame(frame, alone=alone))]:
        print(visible(line))


def _of_video(answer: Answer) -> Iterator[str]:
    name = answer.video.key if answer.video else answer.name
    yield f"{name}: {_verdict(answer.outcome, answer.reason)}"
    if answer.detail:
        yield f"  {answer.detail}"
    if answer.outcome == PENDING:
        yield f"  not attempted yet; `watchmove extract --run {answer.run}` continues"
    if answer.outcome == LEFT_OUT:
        yield f"  not among the videos of run {answer.run}"
    if answer.video:
        yield f"  id {answer.video.id}"
    for plan, shard in answer.planned_in:
        yield f"  planned in shard {shard} of plan {plan}"
    yield from _of_record(answer)


def _of_record(answer: Answer) -> Iterator[str]:
    record = answer.record
    if record is None:
        return
    if len(answer.attempts) > 1:
        ended = ", then ".join(_verdict(row.outcome, row.reason) for row in answer.attempts)
        yield f"  {len(answer.attempts)} attempts: {ended}"
    if record.outcome in FAILED:
        if limit := _LIMITS.get(record.reason):
            yield f"  a larger {limit} may avoid it; how large is not recorded"
        yield f"  `watchmove retry {answer.run} --outcomes {record.outcome}` plans it again"
        return
    yield f"  {record.frames_kept} of {answer.examined} examined frames kept, of {record.frames_seen} in the video"
    if record.frames_rejected:
        yield f"  rejected: {', '.join(f'{count} {reason}' for reason, count in record.frames_rejected.items())}"
    if answer.nearest and answer.nearest.what_if and not record.frames_kept:
        yield f"  nearest, frame {answer.nearest.key}: {answer.nearest.what_if.in_words()}"
    if record.ended_early:
        yield f"  not read to its end: {record.ended_early}"
    if answer.in_snapshot is not None:
        state = f"not in the run's snapshot: {answer.not_in_snapshot}" if answer.not_in_snapshot else "in the snapshot"
        yield f"  its kept frames are {state}"
    if missing := answer.examined - answer.recorded:
        yield f"  of {missing} rejected frames only the number is recorded"


def _of_frame(frame: FrameAnswer, *, alone: bool) -> Iterator[str]:
    """The lines of a frame; one that is not alone has the thresholds that it passes in one line."""
    verdict = frame.verdict
    outcome = "kept" if verdict.reject_reason is None else "rejected"
    yield f"frame {frame.key}: {_verdict(outcome, verdict.reject_reason or '')}"
    conditions = f", {', '.join(verdict.conditions)}" if verdict.conditions else ""
    yield f"  at {verdict.time_seconds:g} s in shot {verdict.shot}, confidence {verdict.confidence:.4g}{conditions}"
    for threshold in frame.thresholds:
        if alone or threshold.passes is not True:
            yield f"  {_of_threshold(threshold)}"
    passed = [_passed(threshold) for threshold in frame.thresholds if threshold.passes and not alone]
    if passed:
        yield f"  passes {', '.join(passed)}"
    if frame.what_if:
        yield f"  {frame.what_if.in_words()}"


def _of_threshold(met: MetThreshold) -> str:
    word = {True: "passes", False: "fails", None: "unknown"}[met.passes]
    rule = f"{word} {met.setting or 'a fixed rule'}: {met.fact} {met.relation} {met.limit:g}"
    if met.measured is None or met.margin is None:
        return f"{rule}, not evaluated or not recorded" if met.passes is None else f"{rule}, not recorded"
    excused = ", excused because the confidence is at least extract.trusted_confidence" if met.excused else ""
    return f"{rule}, measured {met.measured:.4g}, margin {met.margin:+.4g}{excused}"


def _passed(met: MetThreshold) -> str:
    name = met.setting.removeprefix("extract.") or met.fact
    excused = " (excused)" if met.excused else ""
    return name if met.margin is None else f"{name} {met.margin:+.4g}{excused}"


def _verdict(outcome: str, reason: str) -> str:
    return f"{outcome}, {reason}" if reason else outcome
