"""Which mails did webhooks bring for nobody?"""

__all__: list[str] = []
