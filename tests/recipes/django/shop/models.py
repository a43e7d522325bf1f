from django.conf import settings
from django.db import models, transaction
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from purge import purge


class Product(models.Model):
    name = models.CharField(max_length=100)


@receiver([post_save, post_delete], sender=Product)
def purge_pages(instance, raw=False, **kwargs):
    if raw:
        return  # a fixture
    # After the commit: a page that is built before it would show the old row again.
    tag = f"tag:product:{instance.pk}"
    transaction.on_commit(lambda: purge(settings.SITE, settings.PURGE_SECRET, [tag]))
