"""The task service's HTTP API for administrators: `queuesim.admin.api.create_app`. It needs the extra `admin`."""
