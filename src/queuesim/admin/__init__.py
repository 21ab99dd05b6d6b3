"""The task service's HTTP API for administrators: `queuesim.admin.app.create_app`. It needs the extra `admin`."""
