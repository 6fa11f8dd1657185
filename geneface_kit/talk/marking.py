"""Marking: a video says what it is. Provenance, content credentials (C2PA), a visible label.

Every video carries a note in its metadata. With the `marking` extra it also carries a signed C2PA
manifest, which breaks when the file is changed.
"""

import datetime
import hashlib
import importlib.util
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from geneface_kit.person.artefact import Person
from geneface_kit.runs.files import replacing

SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's word for media made by a trained model."""
NOTE = "org.geneface-kit.provenance"  # label of our own assertion in a C2PA manifest
KEYS = ("chain.pem", "key.pem")
VALID_YEARS = 10  # life of a fresh certificate (ours)
NO_CONSENT = (
    "no consent statement came with this person's clip; make and share such videos only of "
    "people who agreed to it"
)
Notes = dict[str, object]  # what a video or its manifest says: names -> words, numbers, lists


def provenance(person: Person, audio: Float[np.ndarray, " n"]) -> Notes:
    """What every video says of itself: synthetic, by which tool, from which person (a digest of its
    person.json and tracks.npz) and sound."""
    files = b"".join((person.folder / name).read_bytes() for name in ("person.json", "tracks.npz"))
    return {
        "synthetic": True,
        "tool": "geneface_kit",
        "version": version("geneface-kit"),
        "person_sha256": hashlib.sha256(files).hexdigest(),
        "audio_sha256": hashlib.sha256(np.ascontiguousarray(audio).tobytes()).hexdigest(),
        "consent": consent_of(person),
    }


def consent_of(person: Person) -> str:
    """The subject's own statement, or plain words that there is none."""
    if person.consent:
        return person.consent
    return "a synthetic person" if person.data_kind == "synthetic" else NO_CONSENT


def labelled(frame: UInt8[np.ndarray, "h w 3"], label: str) -> UInt8[np.ndarray, "h w 3"]:
    """The frame with a white text, outlined in black, at its lower left, as small as it must be."""
    picture, size = Image.fromarray(frame), max(9, frame.shape[0] // 20)
    place = (frame.shape[1] // 40, frame.shape[0] * 39 // 40)
    room = frame.shape[1] - place[0] - 1  # for the outline
    while (font := ImageFont.load_default(size)).getlength(label) > room and size > 1:
        size -= 1
    ImageDraw.Draw(picture).text(
        place, label, font=font, anchor="ls", fill="white", stroke_width=1, stroke_fill="black"
    )
    return np.asarray(picture)


def check_font(label: str) -> None:
    """Raises ValueError, in one sentence, for a label that the font of `labelled` cannot write."""
    font = ImageFont.load_default(20)
    for letter in label:
        if bytes(font.getmask(letter)) == bytes(font.getmask("\n")):  # the box for what it lacks
            raise ValueError(f"talk.label holds {letter!r}: write it with a to z, digits and signs")


def sign(path: Path, notes: Notes, *, title: str, keys: str = "") -> bool:
    """Put a C2PA manifest into a finished mp4; False when the `marking` extra is not installed.

    notes: what `provenance` gives. keys: folder with chain.pem (certificate first) and key.pem
    (ES256); "" makes a pair for this one file: readers then can tell that the file is unchanged,
    but not who signed it, and say so ("untrusted").
    Raises: ValueError, in one sentence, when the named keys cannot sign; the file stays as it was.
    """
    check_keys(keys)
    if importlib.util.find_spec("c2pa") is None:
        return False
    import c2pa

    actions = {"actions": [{"action": "c2pa.created", "digitalSourceType": SOURCE}]}
    manifest = {
        "claim_generator_info": [{"name": notes["tool"], "version": notes["version"]}],
        "title": title,
        "assertions": [{"label": "c2pa.actions", "data": actions}, {"label": NOTE, "data": notes}],
    }
    chain, key = ((Path(keys) / name).read_bytes() for name in KEYS) if keys else fresh_keys()
    try:
        info = c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ES256, chain, key, None)
        builder = c2pa.Builder(json.dumps(manifest))
        with replacing(path) as partial, path.open("rb") as source, partial.open("wb+") as signed:
            builder.sign(c2pa.Signer.from_info(info), "video/mp4", source, signed)
    except c2pa.C2paError as problem:
        where = f"the keys in {Path(keys).name}/" if keys else "a fresh key"
        raise ValueError(f"the video could not be signed with {where}: {problem}") from None
    return True


def fresh_keys() -> tuple[bytes, bytes]:
    """A certificate with the extensions that C2PA asks of a signer, and its private key, PEM, for
    one signature; whoever issued it is forgotten at once."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    names = "O=geneface_kit,CN=geneface_kit root", r"O=geneface_kit,CN=geneface_kit\, no identity"
    issuer, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    of_issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())
    now, one_purpose = datetime.datetime.now(datetime.UTC), x509.ExtendedKeyUsageOID
    certificate = (
        x509.CertificateBuilder(*map(x509.Name.from_rfc4514_string, names))
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * VALID_YEARS))
        .add_extension(x509.BasicConstraints(False, None), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), False)
        .add_extension(of_issuer, False)
        .add_extension(x509.KeyUsage(True, *[False] * 8), True)
        .add_extension(x509.ExtendedKeyUsage([one_purpose.EMAIL_PROTECTION]), False)
        .sign(issuer, hashes.SHA256())
    )
    pem, no_password = serialization.Encoding.PEM, serialization.NoEncryption()
    secret = own.private_bytes(pem, serialization.PrivateFormat.PKCS8, no_password)
    return certificate.public_bytes(pem), secret


def check_keys(keys: str) -> dict[str, Path]:
    """The certificate that says who signs, by its name; nothing for "", no keys of one's own.
    Raises: ValueError, in one sentence, for a folder of keys that cannot sign."""
    if not keys:
        return {}
    if importlib.util.find_spec("c2pa") is None:
        raise ValueError("talk.c2pa_keys needs the marking extra: geneface-kit[marking]")
    for name in KEYS:
        if not (Path(keys) / name).is_file():
            raise ValueError(f"talk.c2pa_keys must name a folder with {name}; it is not there")
    return {KEYS[0]: Path(keys) / KEYS[0]}
