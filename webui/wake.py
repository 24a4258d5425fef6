"""Wake the dataplane worker. A hint only: the worker looks at the database every second anyway."""

from __future__ import annotations

import logging

import redis
from django.conf import settings

CHANNEL = "halfpipe:wake"

log = logging.getLogger(__name__)


def wake_dataplane() -> None:
    """Publish an empty message; when Redis is away, log it and go on."""
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1) as client:
            client.publish(CHANNEL, b"")
    except redis.RedisError as error:
        log.warning("Could not wake the dataplane worker (%s); its next tick will find the change.", error)
