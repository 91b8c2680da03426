"""Does a provider know a sender domain, and has it found its records? Two steps of every set-up."""

from __future__ import annotations

from mailagent.identity import Identifies, Wish
from mailagent.providers.steps import Laid, Step, missing, observed, stands

__all__ = ["identity_step", "verified_step"]


def identity_step(identifies: Identifies, domain: str, wish: Wish, *, call: str) -> Step:
    """The provider knows the domain; one that it knows already is left as it is."""

    async def look() -> Laid:
        found = await identifies.identity(domain)
        return missing() if found is None else stands(f"{domain} is known")

    async def make(_: Laid) -> None:
        await identifies.identify(domain, wish)

    async def undo(_: Laid) -> None:
        await identifies.forget(domain)

    wants = f"{domain} is a sender domain"
    return Step("sender domain", wants, look, make, undo, (f"{call} {domain}",))


def verified_step(identifies: Identifies, domain: str) -> Step:
    """The provider has found what the domain publishes."""

    async def look() -> Laid:
        found = await identifies.identity(domain)
        if found is None:
            return missing("not known yet", mend="set it up first")
        if found.sending == "verified":
            return stands("verified")
        words = ", ".join(f"{subject} {word}" for subject, word in found.words.items())
        says = "; ".join(part for part in (found.sending, words, found.detail) if part)
        records = "; ".join(
            f"{one.name} {one.type} {f'{one.priority} ' if one.priority is not None else ''}"
            f"{one.value}"
            for one in found.records
        )
        return missing(says, mend=f"publish {records}")

    return observed("records of the domain", f"{domain} is verified for sending", look)
