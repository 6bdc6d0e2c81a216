"""Rules for the manifest itself; only M06, M08 and M09 give verdicts."""

from __future__ import annotations

from orchestrator.preflight.rules.rule import Rule, Verdict

MANIFEST_RULES = (
    Rule(
        id="M01",
        title="the manifest can be read",
        source="docs/manifest.md",
        explanation=(
            "The file exists, is text in a known encoding, and is YAML or a table from its first to its last "
            "line. A workbook saved under the name .csv, UTF-16 text or a quote that is never closed end here."
        ),
        fix="Save the table as CSV UTF-8, or repair the line that the message names.",
        can_be_ignored=False,
    ),
    Rule(
        id="M02",
        title="fields and columns are known",
        source="docs/manifest.md",
        explanation=(
            "A field that the program does not know is most often a typing error, and a job made without it "
            "would be the wrong job; the message names the nearest known field."
        ),
        fix="Correct the name. Columns of your own begin with x- or #; `orchestrator schema` lists all fields.",
        can_be_ignored=False,
    ),
    Rule(
        id="M03",
        title="values are in range and of the right kind",
        source="API reference of MetaStudio, CreateAvatarModelJob: ranges, lengths and enums of the fields",
        explanation=(
            "The service refuses a create call with such a value (MSS.10000003), after the run has started."
        ),
        fix="Write one of the values that the message lists.",
        can_be_ignored=False,
    ),
    Rule(
        id="M04",
        title="each avatar has an id and a name of its own",
        source="docs/manifest.md",
        explanation=(
            "The id decides which avatar continues after an interruption, so two alike are an error. Two alike "
            "names are allowed, but the console shows two assets that look the same."
        ),
        fix="Give one of the two another id or name.",
    ),
    Rule(
        id="M05",
        title="files exist and can be read",
        source="docs/manifest.md",
        explanation=(
            "Every file that the manifest names is looked for, opened, and must not be empty. Paths are "
            "relative to the manifest's folder; ~ and $VARIABLE are expanded. Where the name is nearly right (other "
            "case, accents stored otherwise, an extension twice or hidden, %20, quotes, backslashes, a # that YAML "
            "took for a comment) the message names the file to be found; paths of Windows and addresses such as "
            "obs://... are named for what they are."
        ),
        fix="Correct the path, or copy the file to where the manifest says it is.",
        can_be_ignored=False,
    ),
    Rule(
        id="M06",
        title="pictures, letters and voices have a usual format",
        source="MetaStudio: the audio is a zip; formats of pictures and letters are not published",
        verdicts=(Verdict.LOOK_FIRST,),
        explanation=(
            "Judged by content, whatever the file's name says: PNG or JPEG for pictures, also PDF for the "
            "letter. Other formats are not known to be refused, so they only get a warning; an audio that is "
            "no zip, and a single file over 5 GiB, which the store does not take, are errors."
        ),
        fix="Export the picture as PNG or JPEG, pack the voice as a zip.",
    ),
    Rule(
        id="M07",
        title="films can be cut into the parts that were asked for",
        source="OBS multipart uploads: at least 100 KiB each part but the last, at most 5 GiB",
        explanation=(
            "An explicit part count that makes parts too small, or too large, is refused at the upload; only the "
            "last part may be under 100 KiB. MetaStudio's definitions cap the upload URLs of a film at 50, while its "
            "texts allow counts to 1000: over 50, a film may not get its URLs, and its job is then deleted again."
        ),
        fix="Leave video_multipart_count at auto, or take the count that the message names.",
    ),
    Rule(
        id="M08",
        title="a file is given once",
        source="seen in handed-over manifests: a row copied, and one cell forgotten",
        verdicts=(Verdict.LOOK_FIRST,),
        explanation=(
            "One film, action film, ID card or voice for two avatars, or under two fields of one, is most "
            "often a copied row. Files are compared by device and inode, so links count too. Letters and "
            "covers may be shared."
        ),
        fix="Name the right file, or give ignore: [M08] where it is meant.",
    ),
    Rule(
        id="M09",
        title="what the review asks of most accounts is given",
        source="MetaStudio: both sides of the ID card and the authorization letter, unless the account is listed",
        verdicts=(Verdict.LIKELY_REFUSED,),
        explanation=(
            "Without the ID card's two sides and the signed letter the review fails for most accounts. Accounts "
            "on the vendor's list do not need them."
        ),
        fix="Add id_card_image1, id_card_image2 and grant_file, or ignore: [M09] for an account on the list.",
    ),
    Rule(
        id="M10",
        title="fields go together",
        source="API reference of MetaStudio, CreateAvatarModelJob: notes to the fields",
        explanation=(
            "Some fields are refused or silently passed over together with others, for example an audio without "
            "audio_source_type: AUDIO, or a background replacement with flexus."
        ),
        fix="Take away one of the two fields, or add the one that is missing.",
    ),
    Rule(
        id="M11",
        title="cells are as they were typed",
        source="seen in handed-over tables",
        explanation=(
            "Spreadsheets write #N/A, ##### or 1.38E+10 where a formula failed, a column was narrow or a phone "
            'number was taken for a number. Apostrophes, ="..." and template marks are left from a conversion. '
            "Damage is an error in any cell, list item, text of YAML or default; what is nearly right is a warning."
        ),
        fix="Format the column as text, type the value again, and save as CSV UTF-8.",
    ),
    Rule(
        id="M12",
        title="lists are separated by semicolons",
        source="docs/manifest.md",
        explanation=(
            "a,b or a|b in a cell that holds a list is one item, not two, also with the comma, semicolon or "
            "enumeration comma of Chinese. YAML has brackets for lists; an item with a comma is meant there."
        ),
        fix="Write a;b.",
    ),
    Rule(
        id="M13",
        title="a row belongs to the job it names",
        source="docs/after-the-upload.md: the results file is a manifest too",
        explanation=(
            "A results row carries its job_id. When the journal knows that job under another id, the id was "
            "changed on the way, for example 007 to 7 by a spreadsheet."
        ),
        fix="Write the id that the message names, or take the job_id out of the row.",
        can_be_ignored=False,
    ),
    Rule(
        id="M14",
        title="only rules that can be ignored are ignored",
        source="docs/rules.md",
        explanation=(
            "ignore takes rule ids. Warnings of the named rules are not shown; errors stay, because the "
            "service, or the upload, would stop at the same point."
        ),
        fix="`orchestrator explain --all` lists the ids.",
    ),
    Rule(
        id="M15",
        title="a field is given once",
        source="docs/manifest.md",
        explanation=(
            "YAML and tables would let the last of two values count, silently, and which of the two was meant is not "
            "known. The message names the first place."
        ),
        fix="Delete one of the two.",
        can_be_ignored=False,
    ),
    Rule(
        id="M16",
        title="rows, lists and groups have their shape",
        source="docs/manifest.md",
        explanation=(
            "A row with more or fewer cells than the header most often lacks a quote or a comma: its values would "
            "be those of other columns. In YAML, text where a list belongs, or a list where text does, is most often "
            "a wrong indentation. A table needs a column for each field that every avatar has."
        ),
        fix="Repair the row or the indentation that the message names.",
        can_be_ignored=False,
    ),
    Rule(
        id="M17",
        title="a manifest is one batch with avatars",
        source="docs/manifest.md",
        explanation=(
            "Each row of a table may say batch_name, submit and submit_requires, as those of a results file do, but "
            "all must say the same. A manifest without an avatar is most often the wrong file."
        ),
        fix="Make the rows agree, or split the table into one file for each batch.",
        can_be_ignored=False,
    ),
)
