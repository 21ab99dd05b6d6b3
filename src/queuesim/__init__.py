"""queuesim: a wind tunnel for background job queues."""
