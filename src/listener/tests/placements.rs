//! Wherever calls run, they are answered, drained, and cut alike.

use super::*;
use crate::telemetry::context::{Context, Origin};

const ALL: [Placement; 3] = [Placement::Apart, Placement::Together, Placement::ThreadPerCore];

fn serve(placement: Placement, grace: Duration) -> (Server, HealthCalls) {
    let (health, calls) = scripted_health();
    let listener = bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let served = Served::from(Routes::new(health)).placed(placement).expect("threads");
    (Server::start_on(listener, served, Limits::default(), grace), calls)
}

#[tokio::test]
async fn calls_of_several_connections_run_in_the_servers_name_and_are_answered_while_it_drains() {
    let origin = Origin {
        service: "log".to_owned(),
        instance: "here:1".to_owned(),
    };
    let context = Context {
        origin: Some(origin.into()),
        ..Context::default()
    };
    for placement in ALL {
        let (server, mut calls) = context.clone().scope(async { serve(placement, GRACE) }).await;
        let (mut running, mut begun) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            let mut client = HealthClient::new(server.channel());
            running.push(tokio::spawn(async move { client.check(ask("slow")).await }));
            begun.push(calls.next().await);
        }
        for call in &begun {
            assert_eq!(call.context.origin, context.origin, "{placement:?}");
        }
        server.shut_down();
        begun.into_iter().for_each(|call| call.answer(fine()));
        for call in running {
            let answer = soon("an answer", call).await.expect("no panic");
            assert!(answer.is_ok(), "{placement:?}: {answer:?}");
        }
        assert_eq!(server.stop().await, 0, "{placement:?}");
    }
}

#[tokio::test]
async fn calls_that_outlive_the_grace_are_cut_and_counted() {
    for placement in ALL {
        let (server, mut calls) = serve(placement, SHORT);
        let mut client = HealthClient::new(server.channel());
        let running = tokio::spawn(async move { client.check(ask("endless")).await });
        let call = calls.next().await;
        assert_eq!(server.stop().await, 1, "{placement:?}");
        soon("the handler's end", call.cancelled()).await;
        assert!(
            soon("the call's end", running).await.expect("no panic").is_err(),
            "{placement:?}"
        );
    }
}
