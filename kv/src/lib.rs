//! `kv`: JSON values under string keys over HTTP.

<<<<<<< HEAD
pub mod body;
=======
pub mod openapi;
>>>>>>> 5891127 (API pages: Swagger UI embedded, and the OpenAPI documents of both services)
