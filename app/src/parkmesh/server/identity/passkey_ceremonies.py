"""The messages between the server and a device about a passkey (WebAuthn), checked by the library ``webauthn``.

No I/O. The library takes long to load, so ``passkeys`` loads this module at the first use of a passkey.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import webauthn
from webauthn.helpers import base64url_to_bytes, options_to_json_dict
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    CredentialDeviceType,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

SITE_NAME = "parkmesh"


@dataclass(frozen=True)
class Registered:
    """What is kept of a new passkey."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    synced: bool


@dataclass(frozen=True)
class Answer:
    """What an answer of a device is about, before anything in it is believed. ``handle`` names a user, if given."""

    challenge: bytes
    credential_id: bytes
    handle: bytes | None


def registration_options(
    site_id: str, handle: bytes, email: str, name: str, known: Sequence[bytes], challenge: bytes
) -> dict[str, Any]:
    """Return what ``navigator.credentials.create`` takes; ``known`` are the passkeys that the user has."""
    return options_to_json_dict(
        webauthn.generate_registration_options(
            rp_id=site_id,
            rp_name=SITE_NAME,
            user_name=email,
            user_display_name=name,
            user_id=handle,
            challenge=challenge,
            exclude_credentials=[PublicKeyCredentialDescriptor(id=item) for item in known],
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
            ),
        )
    )


def authentication_options(site_id: str, challenge: bytes) -> dict[str, Any]:
    """Return what ``navigator.credentials.get`` takes: the device knows whose passkey it has."""
    return options_to_json_dict(
        webauthn.generate_authentication_options(
            rp_id=site_id, challenge=challenge, user_verification=UserVerificationRequirement.REQUIRED
        )
    )


def read(credential: dict[str, Any]) -> Answer | None:
    """Return what an answer is about, or None for what isn't one."""
    try:
        response = credential["response"]
        challenge = json.loads(base64url_to_bytes(response["clientDataJSON"]))["challenge"]
        handle = response.get("userHandle")
        return Answer(
            base64url_to_bytes(challenge),
            base64url_to_bytes(credential["rawId"]),
            None if handle is None else base64url_to_bytes(handle),
        )
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        return None


def registered(credential: dict[str, Any], challenge: bytes, site_id: str, origin: str) -> Registered | None:
    """Return the passkey that a device made, or None where its answer is wrong in any way."""
    try:
        verified = webauthn.verify_registration_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=site_id,
            expected_origin=origin,
            require_user_verification=True,
        )
    except Exception:  # noqa: BLE001 - whatever the library stumbles over is wrong with what was sent
        return None
    return Registered(
        verified.credential_id,
        verified.credential_public_key,
        verified.sign_count,
        verified.credential_device_type is CredentialDeviceType.MULTI_DEVICE,
    )


def proved(
    credential: dict[str, Any], challenge: bytes, site_id: str, origin: str, public_key: bytes, sign_count: int
) -> int | None:
    """Return the counter of a device that proved to have the passkey, or None where its answer is wrong in any way."""
    try:
        verified = webauthn.verify_authentication_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=site_id,
            expected_origin=origin,
            credential_public_key=public_key,
            credential_current_sign_count=sign_count,
            require_user_verification=True,
        )
    except Exception:  # noqa: BLE001 - whatever the library stumbles over is wrong with what was sent
        return None
    return verified.new_sign_count
