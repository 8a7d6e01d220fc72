# SPDX-License-Identifier: GPL-3.0-or-later
"""Passphrases of exported keys: a fresh one each time, and a ledger that no two are the same.

Three random words and random characters (DIP 6.3, and the guidance it cites), of the EFF's large
word list. The ledger keeps digests only, and each of them once (DIP 6.2: never used for another
transfer). What is never told is the text; its entropy may be known, as the generator's is public.
"""

from __future__ import annotations

import functools
import hashlib
import math
import secrets
from dataclasses import dataclass, field
from importlib import resources

from . import ledger
from .errors import PkiError
from .vault_kv import Folder, VaultClient

RULE = "EXPORT-PASSPHRASE"
#: Below the passphrases of host keys, where ``release``, which reads those, does not reach.
USED = "passphrases/used"
#: The entry beside the digests that makes this server's digests its own.
SALT = "salt"
#: What a KV entry has a secret in.
FIELD = "passphrase"

_LIST = ("wordlists", "wordlist_en_eff.txt")
_LIST_SHA256 = "addd35536511597a02fa0a9ff1e5284677b8883b83e986e43f15a3db996b903e"
# Read aloud and typed by people: without 0 O 1 l i, which look alike.
_SIGNS = "23456789abcdefghjkmnpqrstuvwxyz"
_FEWEST_SIGNS = 4
_SCRYPT = {"n": 2**15, "r": 8, "p": 1, "maxmem": 64 * 2**20, "dklen": 32}
_SALT_OCTETS = 32
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Passphrase:
    """A secret, and what may be known of it.

    Attributes:
        text: the secret; in no representation.
        words: random words it is made of.
        bits: entropy of the generator, rounded down.
    """

    text: str = field(repr=False)
    words: int
    bits: int

    def as_facts(self) -> dict[str, int | bool]:
        """What facts of kind ``export`` say of it."""
        return {
            "length": len(self.text),
            "words": self.words,
            "entropy_bits": self.bits,
            "letters_and_digits": self.text.isascii() and self.text.isalnum(),
        }


@functools.cache
def words() -> tuple[str, ...]:
    """The words there are: lower-case letters only, so that hyphens can part them.

    Raises:
        PkiError: EXPORT-PASSPHRASE when the list is not the one this was written for: a short or
            doctored one would make weak passphrases that look like good ones.
    """
    try:
        content = resources.files("diceware").joinpath(*_LIST).read_bytes()
    except (ImportError, OSError):
        content = b""
    if hashlib.sha256(content).hexdigest() != _LIST_SHA256:
        raise PkiError(
            "the list of words for passphrases is not the one it should be",
            rule=RULE,
            found="another file" if content else "no file",
            expected=f"SHA-256 {_LIST_SHA256}",
            where="Python package diceware, wordlist_en_eff.txt",
            next_step="install the pinned requirements.txt; nothing was exported",
        )
    lines = content.decode("ascii").splitlines()
    found = (line.rpartition("\t")[2] for line in lines)
    return tuple(word for word in found if word.isalpha() and word.islower())


def make(count: int, bits: int, *, letters_and_digits: bool) -> Passphrase:
    """A new passphrase of ``count`` words and random characters, of ``bits`` of entropy or more.

    With ``letters_and_digits`` there is nothing else in it, as MESH wants (tool, step 4). Every
    choice can be read back from the text, so entropy is the sum of the choices'.
    """
    known = words()
    per_word, per_sign = math.log2(len(known)), math.log2(len(_SIGNS))
    signs = max(_FEWEST_SIGNS, math.ceil((bits - count * per_word) / per_sign))
    chosen = [secrets.choice(known) for _ in range(count)]
    tail = "".join(secrets.choice(_SIGNS) for _ in range(signs))
    if letters_and_digits:
        # The characters first: a fixed number of them, and then each capital begins a word.
        text = tail + "".join(word.capitalize() for word in chosen)
    else:
        text = "-".join([*chosen, tail])
    return Passphrase(text, count, math.floor(count * per_word + signs * per_sign))


# --- the ledger -------------------------------------------------------------------------------


def fresh(
    client: VaultClient,
    environment_class: str,
    count: int,
    bits: int,
    *,
    letters_and_digits: bool,
) -> Passphrase:
    """A passphrase that no export of this class ever had; from now on none will have it.

    Raises:
        PkiError: EXPORT-PASSPHRASE when one that was used comes again and again, which chance does
            not do; or as :class:`.vault_kv.Folder` does.
    """
    for _ in range(_TRIES):
        made = make(count, bits, letters_and_digits=letters_and_digits)
        if register(client, environment_class, made.text):
            return made
    raise PkiError(
        "every passphrase that was made has been used before",
        rule=RULE,
        found=f"{_TRIES} of {_TRIES}",
        expected="random numbers that differ",
        where="the controller's source of random numbers",
        next_step="find out what is wrong with it before anything secret is made there",
    )


def register(client: VaultClient, environment_class: str, text: str) -> bool:
    """Take a passphrase for good; False when it was taken before.

    Check-and-set decides, so of two runs with the same one only one gets it.
    """
    folder = Folder(client, ledger.mount_of(environment_class), USED)
    return folder.create(digest(text, _salt(folder)), {"used": "for an exported key"})


def digest(text: str, salt: bytes) -> str:
    """What the ledger knows a passphrase by; slow to compute, so that nobody tries them all."""
    return hashlib.scrypt(text.encode("utf-8"), salt=salt, **_SCRYPT).hex()


def _salt(folder: Folder) -> bytes:
    """The ledger's own salt, made by whoever comes first."""
    entry = folder.read(SALT)
    if entry is None:
        # Of two first runs one makes it; both use what is there then.
        folder.create(SALT, {"hex": secrets.token_hex(_SALT_OCTETS)})
        entry = folder.read(SALT)
    if entry is not None:
        return bytes.fromhex(str(entry["hex"]))
    raise PkiError(
        "the ledger of used passphrases has lost its salt",
        rule=RULE,
        found="an entry without content",
        expected="the salt that all digests were made with",
        where=f"{folder.mount}/data/{folder.folder}/{SALT}",
        next_step="have an operator bring the entry's version back (undelete); without it no "
        "reuse would be noticed, so nothing was exported",
    )
