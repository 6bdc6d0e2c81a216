"""Rules for films that their own index answers: no picture is decoded for them."""

from __future__ import annotations

from orchestrator.preflight.rules.rule import Rule, Verdict

FILM_RULES = (
    Rule(
        id="P01",
        title="the film is whole",
        source="MetaStudio error code MSS.45000003 (unsupported or damaged video)",
        verdicts=(Verdict.REFUSED,),
        explanation=(
            "An MP4 says in its index where each picture and sound is. A copy that was interrupted has the index "
            "but not all of those bytes, or has no index at all. Players show such a file, up to the cut."
        ),
        fix="Copy or export the film again, and compare its size with the original's.",
        can_be_ignored=False,
    ),
    Rule(
        id="P02",
        title="the frame rate is constant, at least 25",
        source="MetaStudio guide: export with the same frame rate; Azure and Tencent ask for 25 or more",
        verdicts=(Verdict.LOOK_FIRST,),
        explanation=(
            "Picture and sound of a film with a variable frame rate drift apart in processing. Phones and screen "
            "recorders write such films. Tiny jitter is common and harmless, so up to 2 % of uneven steps pass."
        ),
        fix="Export once more with a constant frame rate, the one it was filmed with.",
        command="ffmpeg -i IN.mp4 -vf fps=25 -c:v libx264 -crf 16 -preset slow -c:a copy OUT.mp4",
    ),
    Rule(
        id="P03",
        title="the film is upright",
        source="MetaStudio review FAQ: a portrait film that is stored lying must be turned",
        verdicts=(Verdict.LIKELY_REFUSED,),
        explanation=(
            "Phones store a film lying on its side with a note for the player to turn it. The review looks at "
            "the stored pictures."
        ),
        fix="Export it with the pictures turned, not only the note.",
        command="ffmpeg -i IN.mp4 -c:v libx264 -crf 16 -preset slow -c:a copy OUT.mp4",
    ),
    Rule(
        id="P04",
        title="the film has sound",
        source="MetaStudio guide: keep the original sound; the voice is trained from it",
        verdicts=(Verdict.LIKELY_REFUSED,),
        explanation=(
            "Unless audio_source_type is AUDIO, the voice comes from the film. A film without a sound track has "
            "none. Flexus with is_only_human_model needs none."
        ),
        fix="Export it with its sound, or give the voice as a zip with audio_source_type: AUDIO.",
    ),
    Rule(
        id="P05",
        title="pictures are plain: 8 bit, 4:2:0, progressive, square pixels, no HDR",
        source="MetaStudio review FAQ: it must play in Windows' own player; guide: usually under 5 GB",
        verdicts=(Verdict.LIKELY_REFUSED, Verdict.LOOK_FIRST),
        explanation=(
            "Cameras write 10 bit, 4:2:2, interlaced or HDR pictures that the usual players do not play. Also "
            "named: pixels that are not square, a film over 5 GB, sound that is longer or shorter than the "
            "picture, and an encrypted track, which nothing can play."
        ),
        fix="Export as H.264, 8 bit, 4:2:0, progressive.",
        command=(
            "ffmpeg -i IN.mp4 -vf yadif=deint=interlaced,scale=1920:1080,setsar=1 -pix_fmt yuv420p "
            "-c:v libx264 -crf 16 -preset slow -c:a copy OUT.mp4"
        ),
    ),
    Rule(
        id="P08",
        title="the film has the length the service takes",
        source="API reference of MetaStudio: 3 to 10 minutes; flexus 1 to 5",
        verdicts=(Verdict.REFUSED,),
        explanation=(
            "The length is that of the picture track, exactly: 179.6 s is under 3 minutes, 600.4 s over 10. The "
            "same holds for the action video."
        ),
        fix="Film longer; or trim the end, never the middle.",
        command="ffmpeg -i IN.mp4 -t 590 -c copy OUT.mp4",
        can_be_ignored=False,
    ),
    Rule(
        id="P09",
        title="the film is MP4 with H.264, in 1080p or 4K",
        source="API reference of MetaStudio: MP4; 44005901 for other sizes than 1080p and 4K",
        verdicts=(Verdict.REFUSED, Verdict.LIKELY_REFUSED),
        explanation=(
            "Judged by content. Another container or another picture size is refused. Codecs other than H.264 "
            'are known to fail the review (H.265 shows as "resolution not as required").'
        ),
        fix="Export as MP4 with H.264 in one of the four sizes.",
        command="ffmpeg -i IN -c:v libx264 -crf 16 -preset slow -pix_fmt yuv420p -c:a aac OUT.mp4",
    ),
)
