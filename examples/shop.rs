//! A store of shopping carts: an actix-web application with a node inside, and a second process with a replica.
//!
//! `cargo run --example shop` serves carts at http://127.0.0.1:8080 with a master on port 7080;
//! `cargo run --example shop -- replica`, in another terminal, serves the same carts at http://127.0.0.1:8081 with a slave on port 7081.
//!
//! Try:
//!   curl -X PUT http://127.0.0.1:8080/carts/ada/apples -d 3
//!   curl http://127.0.0.1:8081/carts/ada
//!   curl -X PUT http://127.0.0.1:8081/carts/ada/pears -d 1       (a replica refuses)
//!   curl -X POST http://127.0.0.1:8080/carts/ada/checkout
//!   redis-cli -p 7081 xrange orders - +
//! Stop the first process: the replica still serves. `curl -X POST http://127.0.0.1:8081/promote` makes it the master.

use std::collections::BTreeMap;

use actix_web::{App, HttpResponse, HttpServer, ResponseError, web};
use replikant::server::{Batch, ClientError, Commands, ErrorKind, Node, NodeBuilder, RemoteClient, Value};

#[allow(dead_code)] // The tests include this file and have a main function of their own.
fn main() -> anyhow::Result<()> {
    let is_replica = std::env::args().nth(1).is_some_and(|role| role == "replica");
    let (http, builder) = match is_replica {
        false => (8080, node(7080)),
        true => (8081, node(7081).replica_of("127.0.0.1", 7080)),
    };
    actix_rt::System::new().block_on(async {
        let node = builder.start().await?;
        // actix-web's workers are threads of their own: each has a clone of the client.
        let carts = node.remote_client();
        println!("Carts at http://127.0.0.1:{http}, Redis at port {}. What to try is in examples/shop.rs; Ctrl-C stops it.", node.port());
        HttpServer::new(move || App::new().app_data(web::Data::new(carts.clone())).configure(routes))
            .workers(2)
            .bind(("127.0.0.1", http))?
            .run()
            .await?;
        // The web server has seen the signal: now the node goes as well.
        node.stop(None).await;
        Ok(())
    })
}

/// A node as both processes have it. Losing a cart is no disaster, so nothing is saved; the replica is what keeps them.
pub fn node(port: u16) -> NodeBuilder {
    Node::builder().port(port)
}

/// The application's paths.
pub fn routes(app: &mut web::ServiceConfig) {
    app.route("/carts/{user}", web::get().to(cart))
        .route("/carts/{user}/{article}", web::put().to(put))
        .route("/carts/{user}/checkout", web::post().to(checkout))
        .route("/promote", web::post().to(promote));
}

/// What went wrong, for HTTP.
#[derive(Debug)]
struct Failure(ClientError);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Failure(error)
    }
}

impl ResponseError for Failure {
    fn error_response(&self) -> HttpResponse {
        match &self.0 {
            ClientError::Refused(error) if error.kind() == ErrorKind::ReadOnly => {
                HttpResponse::Conflict().body("this is a replica: ask the master\n")
            }
            other => HttpResponse::ServiceUnavailable().body(format!("{other}\n")),
        }
    }
}

fn key(user: &str) -> String {
    format!("cart:{user}")
}

/// `GET /carts/{user}`: articles and how many of each.
async fn cart(carts: web::Data<RemoteClient>, user: web::Path<String>) -> Result<HttpResponse, Failure> {
    let articles: BTreeMap<String, u64> = carts.call(&["HGETALL", &key(&user)]).into_type().await?;
    Ok(HttpResponse::Ok().json(articles))
}

/// `PUT /carts/{user}/{article}` with a number: so many are in the cart from now on.
async fn put(carts: web::Data<RemoteClient>, path: web::Path<(String, String)>, count: String) -> Result<HttpResponse, Failure> {
    let (user, article) = path.into_inner();
    let Ok(count) = count.trim().parse::<u32>() else { return Ok(HttpResponse::BadRequest().body("a number, please\n")) };
    match count {
        0 => carts.hdel(key(&user), &[article]).await?,
        count => carts.hset(key(&user), &[(article, count.to_string())]).await?,
    };
    Ok(HttpResponse::NoContent().finish())
}

/// `POST /carts/{user}/checkout`: the cart becomes an order, in one transaction.
async fn checkout(carts: web::Data<RemoteClient>, user: web::Path<String>) -> Result<HttpResponse, Failure> {
    let key = key(&user);
    let script = "local cart = redis.call('HGETALL', KEYS[1]) if #cart == 0 then return false end \
                  redis.call('DEL', KEYS[1]) return redis.call('XADD', KEYS[2], '*', 'user', ARGV[1], unpack(cart))";
    let order: Option<String> = carts.eval(script, &[key.as_str(), "orders"], &[user.as_str()]).await?;
    Ok(match order {
        Some(id) => HttpResponse::Created().body(format!("order {id}\n")),
        None => HttpResponse::NotFound().body("the cart is empty\n"),
    })
}

/// `POST /promote`: the replica becomes the master, and says what it is now.
async fn promote(carts: web::Data<RemoteClient>) -> Result<HttpResponse, Failure> {
    let batch = Batch::new().cmd(&["REPLICAOF", "NO", "ONE"]).cmd(&["ROLE"]);
    let (_, role): (Value, (String, Value, Value)) = carts.pipeline(&batch).await?;
    Ok(HttpResponse::Ok().body(format!("{}\n", role.0)))
}
