"""Where does SES put mail: is the bucket there, and may SES write to it?

Source: Amazon SES Developer Guide, "Giving permissions to Amazon SES for email receiving" (read
2026-11).
"""

from __future__ import annotations

from mailagent.providers import aws_policy
from mailagent.providers.aws_policy import Statement
from mailagent.providers.ses_control import Aws
from mailagent.providers.steps import Found, Laid, Step, differs, missing, stands

__all__ = ["bucket_step", "policy_step"]

_NONE = ("404", "NoSuchBucket")
_NO_POLICY = ("NoSuchBucketPolicy", "NoSuchBucket")
_LOCATED_BY_DEFAULT = "us-east-1"


def bucket_step(s3: Aws, bucket: str) -> Step:
    """A bucket of this account."""

    async def look() -> Laid:
        found = await s3.ask("head_bucket", absent=_NONE, Bucket=bucket)
        return missing() if found is None else stands(f"s3://{bucket} is there")

    async def make(_: Laid) -> None:
        where = (
            {}
            if s3.region == _LOCATED_BY_DEFAULT
            else {"CreateBucketConfiguration": {"LocationConstraint": s3.region}}
        )
        ours = ("BucketAlreadyOwnedByYou",)
        await s3.ask("create_bucket", absent=ours, Bucket=bucket, **where)

    async def undo(_: Laid) -> None:
        # AWS deletes no bucket that holds anything.
        await s3.ask("delete_bucket", absent=_NONE, Bucket=bucket)

    wants = f"the bucket {bucket} in {s3.region}"
    return Step("bucket", wants, look, make, undo, (f"s3:CreateBucket {bucket}",))


def policy_step(s3: Aws, bucket: str, *, account_id: str, rule_arn: str) -> Step:
    """SES may put mail into the bucket, for our receipt rules; other statements stay.

    `rule_arn` is that of the first; the names of the others begin like it.
    """
    partition = rule_arn.split(":")[1]
    statement: Statement = {
        "Sid": "MailagentSesPuts",
        "Effect": "Allow",
        "Principal": {"Service": "ses.amazonaws.com"},
        "Action": "s3:PutObject",
        "Resource": f"arn:{partition}:s3:::{bucket}/*",
        "Condition": {
            "StringEquals": {"AWS:SourceAccount": account_id},
            "ArnLike": {"AWS:SourceArn": f"{rule_arn}*"},
        },
    }

    async def policy() -> str:
        told = await s3.ask("get_bucket_policy", absent=_NO_POLICY, Bucket=bucket)
        return str(told["Policy"]) if told else ""

    async def look() -> Laid:
        now = await policy()
        if aws_policy.holds(now, statement):
            return stands("SES may put mail there")
        if aws_policy.has(now, statement):
            return differs("the policy lets SES put mail for another rule", before=now)
        return Laid(Found.MISSING, "the policy does not let SES put mail there", before=now)

    async def make(_: Laid) -> None:
        changed = aws_policy.with_statement(await policy(), statement)
        await s3.ask("put_bucket_policy", Bucket=bucket, Policy=changed)

    async def undo(laid: Laid) -> None:
        if laid.before:
            await s3.ask("put_bucket_policy", Bucket=bucket, Policy=laid.before)
        else:
            await s3.ask("delete_bucket_policy", absent=_NO_POLICY, Bucket=bucket)

    wants = f"the policy of {bucket} lets ses.amazonaws.com put mail of this rule there"
    return Step("bucket policy", wants, look, make, undo, (f"s3:PutBucketPolicy {bucket}",))
