"""Rules for films and the files beside them: pictures, letter, voice, contact.

P01 to P09 need no decoding: the structure of a file is enough. P10 to P17 check pictures and sound.
"""

from __future__ import annotations

from orchestrator.preflight.rules.rule import Extra, Rule, Verdict

FOOTAGE_RULES = (
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
            "named: pixels that are not square, a film over 5 GiB, sound that is longer or shorter than "
            "the picture, and an encrypted track, which nothing can play."
        ),
        fix="Export as H.264, 8 bit, 4:2:0, progressive.",
        command=(
            "ffmpeg -i IN.mp4 -vf yadif=deint=interlaced,scale=1920:1080,setsar=1 -pix_fmt yuv420p "
            "-c:v libx264 -crf 16 -preset slow -c:a copy OUT.mp4"
        ),
    ),
    Rule(
        id="P06",
        title="pictures, letters and voices are whole",
        source="MetaStudio review FAQ: face on the ID card unreadable; codes MSS.20020011, .20020012, .20020024",
        verdicts=(Verdict.LIKELY_REFUSED, Verdict.LOOK_FIRST),
        explanation=(
            "Each format has an end: IEND of a PNG, EOI of a JPEG, %%EOF of a PDF, the directory of a zip. A file "
            "without it was cut. A voice zip holds only WAV or MP3; an ID card under 1000 pixels is hard to read."
        ),
        fix="Copy or export the file again; scan the card larger; pack only sound into the zip.",
    ),
    Rule(
        id="P07",
        title="a contact is given",
        source="MetaStudio guide: the creator's phone number, asked back when a review has questions",
        verdicts=(Verdict.LOOK_FIRST,),
        explanation=(
            "A contact is a phone number of at least 7 digits or an e-mail address. It is never repeated in a "
            "message."
        ),
        fix="Fill in contact, for the avatar or under defaults.",
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
    Rule(
        id="P10",
        title="the background is green where it must be",
        source="API reference of MetaStudio: is_background_replacement needs a green screen",
        verdicts=(Verdict.LIKELY_REFUSED, Verdict.LOOK_FIRST),
        explanation=(
            "Looks at the left, right and upper border of about 24 pictures. Under 60 % of green there is likely "
            "refused, under 85 % worth a look: a chair or a wall beside the screen. Not checked for flexus, nor "
            "with is_background_replacement: false."
        ),
        fix="Move the camera closer or the screen wider; or is_background_replacement: false.",
        extra=Extra.PREFLIGHT,
    ),
    Rule(
        id="P11",
        title="the green screen is lit evenly",
        source="MetaStudio guide: lights constant, no shadows; Azure: flat and uniform green",
        verdicts=(Verdict.LOOK_FIRST,),
        explanation=(
            "The spread of brightness (L*) over the green border. An evenly lit screen has about 3, one with a "
            "dark corner or a shadow over 12: the corner is cut out badly."
        ),
        fix="Light the screen by itself from both sides, and stand two metres before it.",
        extra=Extra.PREFLIGHT,
    ),
    Rule(
        id="P12",
        title="pictures are bright, none is black or blown out",
        source="MetaStudio review FAQ: the face must be clear; Tencent and Azure: no fades",
        verdicts=(Verdict.LIKELY_REFUSED, Verdict.LOOK_FIRST),
        explanation="A black or white start, a black picture in between, or a film that is dark all through.",
        fix="Trim black off the start; film with more light.",
        command="ffmpeg -ss 2 -i IN.mp4 -c:v libx264 -crf 16 -preset slow -c:a aac OUT.mp4",
        extra=Extra.PREFLIGHT,
    ),
    Rule(
        id="P13",
        title="the film is one take; camera and light stay as they are",
        source="MetaStudio guide: no cutting of the length; Tencent: unedited, no frame skips",
        verdicts=(Verdict.LIKELY_REFUSED, Verdict.LOOK_FIRST),
        explanation=(
            "Compares the border of neighbouring pictures, where only the background is. A cut to another scene, "
            "a moved camera or a changed light shows there. Not checked for flexus, where the presenter may walk."
        ),
        fix="Send the take as it was filmed; slips need no stop.",
        extra=Extra.PREFLIGHT,
    ),
    Rule(
        id="P14",
        title="the voice is loud, clear and not clipped",
        source="MetaStudio guide: a low noise floor above all, no other voice",
        verdicts=(Verdict.LIKELY_REFUSED, Verdict.LOOK_FIRST),
        explanation=(
            "Silence all through is likely refused. Worth a look: speech less than 15 dB above the noise, a very "
            "quiet recording (a voice under -42 dB), and a clipped one. No service publishes a target loudness."
        ),
        fix="Microphone close (one fist), air conditioning off, level at -12 dB peak.",
        extra=Extra.PREFLIGHT,
    ),
    Rule(
        id="P15",
        title="the film starts with 15 silent seconds",
        source="MetaStudio guide: 15 to 20 s silent, mouth closed, looking at the camera; flexus guide: 15 s",
        verdicts=(Verdict.LOOK_FIRST,),
        explanation=(
            "The first sustained speech comes before second 12. The model's resting face is taken from this lead-in."
        ),
        fix="Film it again with the lead-in, or ask the service whether this take will do.",
        extra=Extra.PREFLIGHT,
    ),
    Rule(
        id="P16",
        title="one face, upright, large enough",
        source="flexus guide: only the speaker in the picture, the face over 1/5 of it",
        verdicts=(Verdict.LIKELY_REFUSED, Verdict.LOOK_FIRST),
        explanation=(
            "Counts faces in the pictures of the quick look; says nothing of whose they are. No face, two faces, or "
            "one that lies on its side are likely refused; a small face is worth a look."
        ),
        fix="One person, upright, in the middle, closer to the camera.",
        extra=Extra.FACES,
    ),
    Rule(
        id="P17",
        title="no picture is frozen, no word is cut out",
        source="MetaStudio guide: no cutting of the length; Tencent: no frame skips",
        verdicts=(Verdict.LOOK_FIRST,),
        explanation=(
            "Decodes every picture (the deep look, minutes of CPU per film). A jump cut is a step between two "
            "pictures far above all others; a freeze is over 0.8 s of identical pictures outside the lead-in."
        ),
        fix="Send the take as it was filmed.",
        extra=Extra.PREFLIGHT,
    ),
)
