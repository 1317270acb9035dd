//! The main path of every example.

#[path = "../examples/embed.rs"]
mod embed;
#[path = "../examples/feed.rs"]
mod feed;
#[path = "../examples/graph.rs"]
mod graph;
#[path = "../examples/shop.rs"]
mod shop;

use std::cell::RefCell;
use std::future::Future;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, web};
use futures::StreamExt;
use replikant::server::{Commands, Node, NodeEvent};

fn run(story: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(async { tokio::time::timeout(Duration::from_secs(60), story).await.expect("within a minute") });
}

#[test]
fn two_nodes_in_one_process() {
    run(async {
        let (master, slave) = embed::pair().await.unwrap();
        assert!(slave.client().get("greeting").await.unwrap().is_some());
        slave.stop(None).await;
        master.stop(None).await;
    });
}

#[test]
fn carts_are_filled_at_the_master_and_seen_at_the_replica() {
    run(async {
        let master = shop::node(0).start().await.unwrap();
        let replica = shop::node(0).replica_of("127.0.0.1", master.port()).start().await.unwrap();
        let mut events = replica.events();
        let app = async |node: &replikant::server::NodeHandle| {
            init_service(App::new().app_data(web::Data::new(node.remote_client())).configure(shop::routes)).await
        };
        let (first, second) = (app(&master).await, app(&replica).await);
        let put = |path: &str, count: &'static str| TestRequest::put().uri(path).set_payload(count).to_request();
        assert_eq!(call_service(&first, put("/carts/ada/apples", "3")).await.status(), StatusCode::NO_CONTENT);
        assert_eq!(call_service(&first, put("/carts/ada/apples", "many")).await.status(), StatusCode::BAD_REQUEST);
        while !matches!(events.next().await, Some(NodeEvent::LinkUp { .. })) {}
        let cart = call_service(&second, TestRequest::get().uri("/carts/ada").to_request()).await;
        assert_eq!(read_body(cart).await, r#"{"apples":3}"#);
        assert_eq!(call_service(&second, put("/carts/ada/pears", "1")).await.status(), StatusCode::CONFLICT);

        let checkout = || TestRequest::post().uri("/carts/ada/checkout").to_request();
        assert_eq!(call_service(&first, checkout()).await.status(), StatusCode::CREATED);
        assert_eq!(call_service(&first, checkout()).await.status(), StatusCode::NOT_FOUND);
        assert_eq!(master.client().xlen("orders").await, Ok(1));
        master.stop(None).await;
        let promoted = call_service(&second, TestRequest::post().uri("/promote").to_request()).await;
        assert_eq!(read_body(promoted).await, "master\n");
        assert_eq!(call_service(&second, put("/carts/ada/pears", "1")).await.status(), StatusCode::NO_CONTENT);
        replica.stop(None).await;
        assert_eq!(call_service(&second, put("/carts/ada/pears", "1")).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    });
}

#[test]
fn a_graph_is_broken_and_healed() {
    run(async {
        let mut told = Vec::new();
        let graph = graph::story(|text| told.push(text.to_owned())).await.unwrap();
        let last = told.last().unwrap();
        assert!(last.contains("left (master,") && last.matches("link up").count() == 5, "{told:#?}");
        assert!(told.iter().any(|text| text.contains("continued")), "{told:#?}");
        for node in graph.nodes.values() {
            node.stop(None).await;
        }
    });
}

#[test]
fn a_feed_survives_a_restart() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("place");
        let node = Node::builder().start().await.unwrap();
        let client = node.client();
        client.set("before", "1").await.unwrap();
        let lines = RefCell::new(Vec::new());
        let follow_until = async |last: &str| {
            let found = async {
                while !lines.borrow().iter().any(|line: &String| line.ends_with(last)) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::select! {
                result = feed::follow("127.0.0.1", node.port(), &file, |line| lines.borrow_mut().push(line)) => panic!("{result:?}"),
                () = found => {}
            }
        };
        follow_until("changes:").await;
        assert!(lines.borrow()[0].contains("a full sync is needed (first-sync)"), "{lines:?}");
        client.set("during", "1").await.unwrap();
        follow_until("SET during 1").await;
        lines.borrow_mut().clear();
        client.set("after", "1").await.unwrap();
        follow_until("SET after 1").await;
        assert!(lines.borrow().iter().all(|line| line.contains(" db0 SET ")), "{lines:?}");
    });
}
