//! Pages and assets; knows the API, never the insides of the daemon.
