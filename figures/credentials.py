"""Credentials: what the content credentials (C2PA) of a finished video say.

`geneface_kit.talk.marking` signs them; the extra `marking` reads them, too.
"""

import json
from pathlib import Path

from geneface_kit.talk.marking import NOTE, Notes


def credentials(path: Path) -> Notes:
    """The manifest of a signed video: {"state", "title", "signer", "notes"}; {} without one.

    state: "Valid" for a file unchanged since it was signed, by whomever; "Trusted" if the signer is
    known, too; else "Invalid".
    Raises: ValueError, in one sentence, when no manifest can be read of a damaged file.
    """
    import c2pa

    try:
        with path.open("rb") as file:
            reader = c2pa.Reader("video/mp4", file)
            content, state = json.loads(reader.json()), reader.get_validation_state()
        manifest = content["manifests"][content["active_manifest"]]
        notes = [one["data"] for one in manifest["assertions"] if one["label"] == NOTE]
        signer = manifest["signature_info"].get("common_name", "")
    except c2pa.C2paError.ManifestNotFound:
        return {}
    except (c2pa.C2paError, KeyError) as problem:
        raise ValueError(
            f"{path.name} has no content credentials that can be read ({problem}): it is no mp4, "
            "or was changed since it was signed"
        ) from None
    title = manifest.get("title", "")
    return {"state": state, "title": title, "signer": signer, "notes": notes[0] if notes else {}}
