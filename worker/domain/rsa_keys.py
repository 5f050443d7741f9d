"""How long an RSA key is, from its DER (RFC 5280 section 4.1, RFC 8017 appendix A.1.1).

Pure. `cryptography` is not installed everywhere, and only the length is asked for.
"""

from typing import Final

_SEQUENCE: Final = 0x30
_INTEGER: Final = 0x02
_BIT_STRING: Final = 0x03
_LONG: Final = 0x80


def rsa_bits(der: bytes) -> int:
    """Returns the bits of the modulus of a SubjectPublicKeyInfo, or of a bare RSAPublicKey. Raises ValueError."""
    body, _ = _read(der, _SEQUENCE)
    if body[:1] != bytes([_INTEGER]):
        _, after = _read(body, _SEQUENCE)
        bits, _ = _read(after, _BIT_STRING)
        body, _ = _read(bits[1:], _SEQUENCE)
    modulus, _ = _read(body, _INTEGER)
    return int.from_bytes(modulus, "big").bit_length()


def _read(der: bytes, tag: int) -> tuple[bytes, bytes]:
    """Returns the content of the element that comes first, and what follows it."""
    if len(der) < 2 or der[0] != tag:
        raise ValueError("is not the DER of an RSA key")
    length, begin = der[1], 2
    if length & _LONG:
        begin += length & ~_LONG
        length = int.from_bytes(der[2:begin], "big")
    if len(der) < begin + length:
        raise ValueError("is cut short")
    return der[begin : begin + length], der[begin + length :]
