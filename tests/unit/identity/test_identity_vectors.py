"""Published test vectors, typed in by hand: our reading of keys verifies what others signed."""

from __future__ import annotations

import jwt
import pytest
from jwt import api_jws

from gateway.canonical import digest
from gateway.identity.keys import StaticKeys

RFC7515_A3 = {
    "kty": "EC",
    "crv": "P-256",
    "kid": "a3",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
RFC7515_A3_TOKEN = (
    "eyJhbGciOiJFUzI1NiJ9"
    ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
)
RFC7515_A4 = {
    "kty": "EC",
    "crv": "P-521",
    "kid": "a4",
    "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
    "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2",
}
RFC7515_A4_TOKEN = (
    "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA"
    ".AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7Xdt"
    "AG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn"
)
RFC8037_A2 = {
    "kty": "OKP",
    "crv": "Ed25519",
    "kid": "a2",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}
RFC8037_A4_TOKEN = (
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    ".hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)
VECTORS = [
    pytest.param(RFC7515_A3, "ES256", RFC7515_A3_TOKEN, id="RFC 7515 A.3"),
    pytest.param(RFC7515_A4, "ES512", RFC7515_A4_TOKEN, id="RFC 7515 A.4"),
    pytest.param(RFC8037_A2, "EdDSA", RFC8037_A4_TOKEN, id="RFC 8037 A.4"),
]


@pytest.mark.parametrize(("jwk", "algorithm", "token"), VECTORS)
async def test_published_signature_verifies(
    jwk: dict[str, str], algorithm: str, token: str
) -> None:
    """A key read by ``StaticKeys`` verifies the token that its RFC prints."""
    key = await StaticKeys([jwk]).key(jwk["kid"], algorithm)
    assert key is not None
    assert api_jws.decode(token, key, algorithms=[algorithm])


@pytest.mark.parametrize(("jwk", "algorithm", "token"), VECTORS)
async def test_published_signature_over_other_bytes_does_not(
    jwk: dict[str, str], algorithm: str, token: str
) -> None:
    """The same key refuses the same signature over another payload."""
    key = await StaticKeys([jwk]).key(jwk["kid"], algorithm)
    assert key is not None
    header, _payload, signature = token.split(".")
    with pytest.raises(jwt.InvalidSignatureError):
        api_jws.decode(f"{header}.e30.{signature}", key, algorithms=[algorithm])


def test_thumbprint_is_the_digest_of_canonical_bytes() -> None:
    """The development issuer names its key by a digest that equals RFC 7638's (RFC 8037 A.3)."""
    members = {name: RFC8037_A2[name] for name in ("crv", "kty", "x")}
    assert digest(members) == "90facafea9b1556698540f70c0117a22ea37bd5cf3ed3c47093c1707282b4b89"
